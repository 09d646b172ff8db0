// LMDB as it comes, read as Falaj's store reads it: what a look-up in a folder costs without Falaj.
#pragma once

#include <lmdb.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace falaj {

// One thread at a time.
class BareLmdb {
 public:
  // Opens the database `name` of a folder. Ends the program where that fails.
  BareLmdb(const std::string& folder, const std::string& name);

  // Copies what is stored of the entities, all in one transaction; returns the bytes.
  size_t Ask(std::span<const int64_t> ids);

 private:
  struct Close {
    void operator()(MDB_env* env) const { mdb_env_close(env); }
  };
  struct Abort {
    void operator()(MDB_txn* txn) const { mdb_txn_abort(txn); }
  };
  std::unique_ptr<MDB_env, Close> env_;
  std::unique_ptr<MDB_txn, Abort> txn_;
  MDB_dbi rows_ = 0;
  std::vector<char> found_;
};

}  // namespace falaj
