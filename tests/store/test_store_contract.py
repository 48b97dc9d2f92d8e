"""The shipped store keeps the contract."""

from searchitect.store import Store
from searchitect.testing.store import StoreContract


class TestSqliteStore(StoreContract):
    def make(self, folder):
        return Store.create(folder, {"name": "contract"})

    def reopen(self, folder):
        return Store.open(folder, write=True)
