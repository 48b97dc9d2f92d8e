"""temporary"""
def leave_best_so_far(session, loop): pass
def finalize(*a): pass
