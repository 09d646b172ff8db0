#include "join/lmdb_environment.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <tuple>

namespace falaj {
namespace {

constexpr unsigned kMaxReaders = 1022;
constexpr MDB_dbi kMaxDatabases = 512;
constexpr size_t kMostIdle = 128;

// Process (LMDB does not survive fork), device, inode.
using FolderId = std::tuple<pid_t, dev_t, ino_t>;

// The environments of this process. One that is being closed stays until that is done.
struct Opened {
  Mutex mu;
  CondVar closed;
  std::map<FolderId, std::weak_ptr<LmdbEnvironment>> environments GUARDED_BY(mu);
};

Opened& GetOpened() {
  static auto* opened = new Opened;  // never destroyed: environments may outlive static objects
  return *opened;
}

Result<FolderId> FolderOf(const std::string& path) {
  if (mkdir(path.c_str(), 0777) != 0 && errno != EEXIST) {
    return NotFound("online store '" + path + "': cannot be made: " + std::strerror(errno));
  }
  struct stat found {};
  if (stat(path.c_str(), &found) != 0 || !S_ISDIR(found.st_mode)) {
    return InvalidInput("online store '" + path + "': expected a folder");
  }
  return FolderId{getpid(), found.st_dev, found.st_ino};
}

}  // namespace

Result<std::shared_ptr<LmdbEnvironment>> LmdbEnvironment::Open(const std::string& path, size_t map_bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (map_bytes < 16 * page) {
    return InvalidInput("online store '" + path + "': map_bytes: expected " + std::to_string(16 * page) +
                        " or more, got " + std::to_string(map_bytes));
  }
  Result<FolderId> id = FolderOf(path);
  if (!id.ok()) return id.status();
  Opened& opened = GetOpened();
  MutexLock lock(opened.mu);
  for (auto at = opened.environments.find(*id); at != opened.environments.end();
       at = opened.environments.find(*id)) {
    if (auto shared = at->second.lock()) {
      if (shared->map_bytes_ == map_bytes) return shared;
      return InvalidInput("online store '" + path + "': is open with map_bytes " +
                          std::to_string(shared->map_bytes_) + ", got " + std::to_string(map_bytes));
    }
    opened.closed.Wait(opened.mu);
  }
  std::unique_ptr<LmdbEnvironment> started(new LmdbEnvironment(path, map_bytes));
  FALAJ_RETURN_IF_ERROR(started->Start());
  std::shared_ptr<LmdbEnvironment> made(started.release(), [](LmdbEnvironment* env) {
    Opened& all = GetOpened();
    MutexLock closing(all.mu);
    delete env;
    std::erase_if(all.environments, [](const auto& entry) { return entry.second.expired(); });
    all.closed.NotifyAll();
  });
  opened.environments.emplace(*id, made);
  return made;
}

Status LmdbEnvironment::Start() {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (const int code = mdb_env_create(&env_); code != 0) return Failed(code, "opening");
  int code = mdb_env_set_mapsize(env_, (map_bytes_ + page - 1) / page * page);
  if (code == 0) code = mdb_env_set_maxreaders(env_, kMaxReaders);
  if (code == 0) code = mdb_env_set_maxdbs(env_, kMaxDatabases);
  // NOTLS: a transaction is not bound to a thread. NORDAHEAD: look-ups are all over the file.
  if (code == 0) code = mdb_env_open(env_, path_.c_str(), MDB_NOTLS | MDB_NORDAHEAD, 0666);
  int stale = 0;
  if (code == 0) code = mdb_reader_check(env_, &stale);
  if (code != 0) return Failed(code, "opening");
  MutexLock lock(mu_);
  idle_.reserve(kMostIdle);
  return Status::Ok();
}

LmdbEnvironment::~LmdbEnvironment() {
  {
    MutexLock lock(mu_);
    for (MDB_txn* txn : idle_) mdb_txn_abort(txn);
  }
  if (env_ != nullptr) mdb_env_close(env_);
}

Status LmdbEnvironment::Failed(int code, const char* doing) const {
  const std::string where = "online store '" + path_ + "': ";
  switch (code) {
    case MDB_MAP_FULL:
      return Unavailable(where + "is full: open it with map_bytes above " + std::to_string(map_bytes_));
    case MDB_MAP_RESIZED:
      return Unavailable(where + "another process made it larger than map_bytes " +
                         std::to_string(map_bytes_) + ": open it with as much");
    case MDB_READERS_FULL:
      return Unavailable(where + "more than " + std::to_string(kMaxReaders) + " read it at once");
    case MDB_DBS_FULL:
      return Unavailable(where + "has all the " + std::to_string(kMaxDatabases) + " views that it can hold");
    case MDB_VERSION_MISMATCH:
    case MDB_INVALID:
      return Unsupported(where + "is not a database of this version of LMDB");
    default:
      return Internal(where + doing + ": " + mdb_strerror(code));
  }
}

Result<MDB_txn*> LmdbEnvironment::BeginRead() {
  MDB_txn* txn = nullptr;
  {
    MutexLock lock(mu_);
    if (!idle_.empty()) {
      txn = idle_.back();
      idle_.pop_back();
    }
  }
  int code = 0;
  if (txn != nullptr) {
    code = mdb_txn_renew(txn);
    if (code != 0) mdb_txn_abort(txn);
  } else {
    code = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
    int stale = 0;
    if (code == MDB_READERS_FULL && mdb_reader_check(env_, &stale) == 0 && stale > 0) {
      code = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
    }
  }
  if (code != 0) return Failed(code, "reading");
  return txn;
}

Status LmdbRead::Begin() {
  Result<MDB_txn*> txn = env_.BeginRead();
  if (!txn.ok()) return txn.status();
  txn_ = *txn;
  return Status::Ok();
}

Status LmdbRead::Commit() {
  const int code = mdb_txn_commit(txn_);
  txn_ = nullptr;
  return code == 0 ? Status::Ok() : env_.Failed(code, "reading");
}

LmdbRead::~LmdbRead() {
  if (txn_ == nullptr) return;
  mdb_txn_reset(txn_);
  {
    MutexLock lock(env_.mu_);
    if (env_.idle_.size() < kMostIdle) {
      env_.idle_.push_back(txn_);
      return;
    }
  }
  mdb_txn_abort(txn_);
}

Status LmdbWrite::Begin() {
  int stale = 0;
  int code = mdb_reader_check(env_.get(), &stale);  // a reader that was killed would keep old pages in use
  if (code == 0) code = mdb_txn_begin(env_.get(), nullptr, 0, &txn_);
  return code == 0 ? Status::Ok() : env_.Failed(code, "writing");
}

Status LmdbWrite::Put(MDB_dbi dbi, std::string_view key, std::string_view value) {
  MDB_val k = ToVal(key), v = ToVal(value);
  const int code = mdb_put(txn_, dbi, &k, &v, 0);
  return code == 0 ? Status::Ok() : env_.Failed(code, "writing");
}

Status LmdbWrite::Commit() {
  const int code = mdb_txn_commit(txn_);
  txn_ = nullptr;
  return code == 0 ? Status::Ok() : env_.Failed(code, "writing");
}

LmdbWrite::~LmdbWrite() {
  if (txn_ != nullptr) mdb_txn_abort(txn_);
}

}  // namespace falaj
