#include "bare_lmdb.h"

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace falaj {
namespace {

constexpr size_t kMapBytes = size_t{1} << 40;

void Check(int code) {
  if (code == 0) return;
  std::fprintf(stderr, "lmdb: %s\n", mdb_strerror(code));
  std::exit(1);
}

}  // namespace

BareLmdb::BareLmdb(const std::string& folder, const std::string& name) {
  MDB_env* env = nullptr;
  Check(mdb_env_create(&env));
  env_.reset(env);
  Check(mdb_env_set_maxdbs(env, 8));
  Check(mdb_env_set_mapsize(env, kMapBytes));
  // Without its lock file, which the store has open in this process; nobody writes while this reads.
  Check(mdb_env_open(env, folder.c_str(), MDB_RDONLY | MDB_NOLOCK, 0));
  MDB_txn* txn = nullptr;
  Check(mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn));
  Check(mdb_dbi_open(txn, name.c_str(), 0, &rows_));
  Check(mdb_txn_commit(txn));  // which keeps the handle
  Check(mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn));
  txn_.reset(txn);
  mdb_txn_reset(txn);
}

size_t BareLmdb::Ask(std::span<const int64_t> ids) {
  Check(mdb_txn_renew(txn_.get()));
  size_t bytes = 0;
  for (const int64_t id : ids) {
    uint64_t key = __builtin_bswap64(std::bit_cast<uint64_t>(id));
    MDB_val at{sizeof(key), &key}, value;
    Check(mdb_get(txn_.get(), rows_, &at, &value));
    found_.resize(bytes + value.mv_size);
    std::memcpy(found_.data() + bytes, value.mv_data, value.mv_size);
    bytes += value.mv_size;
  }
  mdb_txn_reset(txn_.get());
  return bytes;
}

}  // namespace falaj
