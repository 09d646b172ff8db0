// LMDB's handles, each wrapped once: the environment and its transactions.
#pragma once

#include <lmdb.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/mutex.h"
#include "core/status.h"

namespace falaj {

// A folder's database, once per process, as LMDB wants it. Shared by a store and its views. Thread-safe.
class LmdbEnvironment {
 public:
  // Makes the folder where its parent is there. `map_bytes` bounds the database.
  static Result<std::shared_ptr<LmdbEnvironment>> Open(const std::string& path, size_t map_bytes);
  ~LmdbEnvironment();
  LmdbEnvironment(const LmdbEnvironment&) = delete;
  LmdbEnvironment& operator=(const LmdbEnvironment&) = delete;

  MDB_env* get() const { return env_; }
  // The Status of an LMDB return code that is not 0.
  Status Failed(int code, const char* doing) const;

  // LMDB opens one named database at a time. Taken before LMDB's own writer lock.
  Mutex& opening() { return opening_; }

 private:
  friend class LmdbRead;
  LmdbEnvironment(std::string path, size_t map_bytes) : path_(std::move(path)), map_bytes_(map_bytes) {}
  Status Start();
  Result<MDB_txn*> BeginRead();

  const std::string path_;
  const size_t map_bytes_;
  MDB_env* env_ = nullptr;
  Mutex opening_;
  Mutex mu_;
  std::vector<MDB_txn*> idle_ GUARDED_BY(mu_);  // ended reads, which keep their reader's slot
};

// A read transaction, taken from those that ended before. One thread at a time.
class LmdbRead {
 public:
  explicit LmdbRead(LmdbEnvironment& env) : env_(env) {}
  ~LmdbRead();
  LmdbRead(const LmdbRead&) = delete;
  LmdbRead& operator=(const LmdbRead&) = delete;

  Status Begin();
  MDB_txn* get() const { return txn_; }
  // Ends it for good, keeping the databases that it opened.
  Status Commit();

 private:
  LmdbEnvironment& env_;
  MDB_txn* txn_ = nullptr;
};

// The one write transaction; aborted unless committed. Stays on its thread.
class LmdbWrite {
 public:
  explicit LmdbWrite(LmdbEnvironment& env) : env_(env) {}
  ~LmdbWrite();
  LmdbWrite(const LmdbWrite&) = delete;
  LmdbWrite& operator=(const LmdbWrite&) = delete;

  Status Begin();
  MDB_txn* get() const { return txn_; }
  Status Put(MDB_dbi dbi, std::string_view key, std::string_view value);
  Status Commit();

 private:
  LmdbEnvironment& env_;
  MDB_txn* txn_ = nullptr;
};

inline MDB_val ToVal(std::string_view bytes) { return {bytes.size(), const_cast<char*>(bytes.data())}; }
inline std::string_view ToView(const MDB_val& val) {
  return {static_cast<const char*>(val.mv_data), val.mv_size};
}

}  // namespace falaj
