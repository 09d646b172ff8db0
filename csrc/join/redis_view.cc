#include "join/redis_view.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>

#include "join/entity_key.h"

namespace falaj {
namespace {

using Kind = RedisReplies::Kind;

constexpr size_t kPieceEntities = 1000;           // that a command of a write names
constexpr size_t kPieceBytes = size_t{1} << 20;   // of commands, about, before their replies are awaited
constexpr size_t kMostBytes = size_t{256} << 20;  // of the values of a write

std::string RandomDigits() {
  std::array<unsigned char, 16> bytes{};
  RAND_bytes(bytes.data(), static_cast<int>(bytes.size()));
  return HexDigits(bytes);
}

}  // namespace

// The values that a write has to store.
struct RedisView::Pending {
  struct Value {
    size_t entity;
    size_t begin;  // in bytes
    size_t size;
  };
  std::vector<Value> values;
  std::string bytes;
};

// What a write knows of whose turn it is.
struct RedisView::Turn {
  std::string own;      // what stands for it in the server
  int late = 0;         // attempts that others were faster than
  bool others = false;  // it was another's when last looked at
  bool asked = false;
};

// A look-up that was sent, or why it was not.
class RedisView::LookUp final : public PendingRead {
 public:
  LookUp(const RedisView& view, const SharedRead& read)
      : view_(view), read_(read), deadline_(std::chrono::steady_clock::now() + Limit()) {
    if (read_.deadline < deadline_) {
      deadline_ = read_.deadline;
      soon_ = true;
    }
    failed_ = Check();
    if (!failed_.ok()) return;
    read_.out->Reset(view_.layout_, read_.count);
    if (read_.count == 0) return;
    said_.emplace(view_.pool_->Begin(deadline_, soon_, [this](RedisCommands& commands) { Say(commands); }));
  }
  ~LookUp() override {
    if (said_ && said_->lease) said_->lease->Drop();  // the answer is still to come
  }

  Status Wait() override {
    if (!failed_.ok()) return failed_;
    Status status;
    if (said_) {
      RedisPool::Said said = std::move(*said_);
      said_.reset();
      status = view_.pool_->Finish(
          std::move(said), deadline_, soon_, [this](RedisCommands& commands) { Say(commands); },
          [this](const RedisReplies& replies) {
            const Status used = Use(replies);
            read_.out->Flush();  // before the replies are gone
            return used;
          });
    }
    read_.out->Finish();
    return status;
  }

 private:
  std::chrono::milliseconds Limit() const { return view_.pool_->options().read_timeout; }

  Status Check() const {
    FALAJ_RETURN_IF_ERROR(CheckColumns(read_.keys, view_.spec_.keys, "key"));
    if (read_.count <= kMostEntities) return Status::Ok();
    return InvalidInput(ViewName(view_.spec_) + ": expected at most " + std::to_string(kMostEntities) +
                        " entities at once, got " + std::to_string(read_.count));
  }

  void Say(RedisCommands& commands) const {
    commands.Begin(2 + read_.count).Add("HMGET").Add(view_.keys_.rows);
    EntityKey key;
    // No entity's key is empty, so one that is too long is missing.
    for (size_t i = 0; i < read_.count; ++i) {
      commands.Add(key.Encode(read_.keys, i) ? key.bytes() : std::string_view());
    }
  }

  Status Use(const RedisReplies& replies) const {
    const auto items = replies.items();
    const ViewSpec& spec = view_.spec_;
    if (items.size() != 1 + read_.count || items[0].kind != Kind::kArray)
      return UnexpectedReply(ViewName(spec));
    for (size_t i = 0; i < read_.count; ++i) {
      const RedisReplies::Item& item = items[1 + i];
      if (item.kind != Kind::kNil && item.kind != Kind::kText) return UnexpectedReply(ViewName(spec));
      const bool there = item.kind == Kind::kText;
      const auto value = there ? std::as_bytes(std::span(replies.text(item))) : std::span<const std::byte>();
      if (there || spec.windowed) {
        FALAJ_RETURN_IF_ERROR(TakeEntity(value, spec, view_.layout_, read_.times[i], i, *read_.out));
      }
      if (read_.values != nullptr) read_.values->Take(i, value);
    }
    return Status::Ok();
  }

  const RedisView& view_;
  const SharedRead read_;
  TimePoint deadline_;
  bool soon_ = false;
  Status failed_;
  std::optional<RedisPool::Said> said_;
};

std::unique_ptr<PendingRead> RedisView::Ask(const SharedRead& read) {
  return std::make_unique<LookUp>(*this, read);
}

Result<size_t> RedisView::Write(const WriteRows& rows, int64_t now,
                                const std::optional<std::string>& cursor) {
  auto writes = EntityWrites::Make(rows, spec_, layout_);
  if (!writes.ok()) return writes.status();
  size_t entities = 0;
  Turn turn;
  FALAJ_RETURN_IF_ERROR(TryUntilDone(
      ViewName(spec_), [&](bool& done) { return TryWrite(**writes, now, cursor, turn, entities, done); }));
  return entities;
}

Status RedisView::TryWrite(EntityWrites& writes, int64_t now, const std::optional<std::string>& cursor,
                           Turn& turn, size_t& entities, bool& done) const {
  auto lease = pool_->Take(WriteDeadline());
  if (!lease.ok()) return lease.status();
  RedisConnection& connection = **lease;
  FALAJ_RETURN_IF_ERROR(TakeTurn(connection, turn));
  if (turn.others) return Status::Ok();
  Pending pending;
  if (Status merged = MergeAll(connection, writes, now, pending); !merged.ok()) {
    lease->Drop();  // it watches
    return merged;
  }
  entities = pending.values.size();
  FALAJ_RETURN_IF_ERROR(Store(connection, writes, pending, cursor, turn, done));
  turn.late += done ? 0 : 1;
  return Status::Ok();
}

// Looks whose turn it is, and asks for it where it was waited for long enough.
Status RedisView::TakeTurn(RedisConnection& connection, Turn& turn) const {
  RedisCommands& commands = connection.commands();
  commands.Clear();
  turn.asked = turn.late >= kPatience;
  if (turn.asked) {
    if (turn.own.empty()) turn.own = RandomDigits();
    commands.Begin(6).Add("SET").Add(keys_.turn).Add(turn.own).Add("NX").Add("PX").Add(kTurnMs);
  }
  commands.Begin(2).Add("GET").Add(keys_.turn);
  const RedisReplies* replies = nullptr;
  FALAJ_RETURN_IF_ERROR(connection.Ask(WriteDeadline(), replies));
  const RedisReplies::Item& whose = replies->items().back();
  turn.others = whose.kind == Kind::kText && replies->text(whose) != turn.own;
  return Status::Ok();
}

// Reads what the store has, from when on the server watches it, and merges into it.
Status RedisView::MergeAll(RedisConnection& connection, EntityWrites& writes, int64_t now,
                           Pending& pending) const {
  RedisCommands& commands = connection.commands();
  SayWatch(commands, keys_);
  size_t first = 1 + 3;  // of the items, that of the first HMGET of rows
  size_t begin = 0;
  do {
    const size_t count = std::min(writes.size() - begin, kPieceEntities);
    if (count > 0) commands.Begin(2 + count).Add("HMGET").Add(keys_.rows);
    for (size_t i = begin; i < begin + count; ++i) commands.Add(writes.key(i));
    const RedisReplies* replies = nullptr;
    FALAJ_RETURN_IF_ERROR(connection.Ask(WriteDeadline(), replies));
    if (begin == 0) FALAJ_RETURN_IF_ERROR(CheckStored(*replies, 1, spec_));
    const auto items = replies->items();
    if (items.size() != first + (count > 0 ? 1 + count : 0)) return UnexpectedReply(ViewName(spec_));
    for (size_t i = 0; i < count; ++i) {
      const RedisReplies::Item& item = items[first + 1 + i];
      if (item.kind != Kind::kNil && item.kind != Kind::kText) return UnexpectedReply(ViewName(spec_));
      const std::string_view old = replies->text(item);
      FALAJ_RETURN_IF_ERROR(writes.Merge(begin + i, item.kind == Kind::kNil ? nullptr : &old, now));
      if (!writes.changed()) continue;
      pending.values.push_back({begin + i, pending.bytes.size(), writes.value().size()});
      pending.bytes += writes.value();
      if (pending.bytes.size() > kMostBytes) {
        return InvalidInput(ViewName(spec_) + ": the rows take more than the " + std::to_string(kMostBytes) +
                            " bytes that a write may: write fewer at once");
      }
    }
    commands.Clear();
    begin += count;
    first = 0;
  } while (begin < writes.size());
  return Status::Ok();
}

// Does nothing where the view has been changed since MergeAll, and `done` then stays false.
Status RedisView::Store(RedisConnection& connection, const EntityWrites& writes, const Pending& pending,
                        const std::optional<std::string>& cursor, const Turn& turn, bool& done) const {
  RedisCommands& commands = connection.commands();
  const RedisReplies* replies = nullptr;
  commands.Clear();
  if (pending.values.empty() && !cursor) {
    commands.Begin(1).Add("UNWATCH");
    FALAJ_RETURN_IF_ERROR(connection.Ask(WriteDeadline(), replies));
    done = true;
    return Status::Ok();
  }
  commands.Begin(1).Add("MULTI");
  for (size_t begin = 0; begin < pending.values.size();) {
    size_t end = begin, bytes = 0;
    while (end < pending.values.size() && end - begin < kPieceEntities && bytes < kPieceBytes) {
      bytes += pending.values[end++].size;
    }
    commands.Begin(2 + 2 * (end - begin)).Add("HSET").Add(keys_.rows);
    for (; begin < end; ++begin) {
      const Pending::Value& value = pending.values[begin];
      commands.Add(writes.key(value.entity))
          .Add(std::string_view(pending.bytes).substr(value.begin, value.size));
    }
    if (commands.bytes().size() < kPieceBytes) continue;
    FALAJ_RETURN_IF_ERROR(connection.Ask(WriteDeadline(), replies));
    commands.Clear();
  }
  if (cursor) commands.Begin(4).Add("HSET").Add(keys_.view).Add("cursor").Add(*cursor);
  if (turn.asked) commands.Begin(2).Add("UNLINK").Add(keys_.turn);
  commands.Begin(1).Add("EXEC");
  const size_t before = commands.count() - 1;
  FALAJ_RETURN_IF_ERROR(connection.Ask(WriteDeadline(), replies));
  return Executed(*replies, before, ViewName(spec_), done);
}

Result<std::optional<std::string>> RedisView::Cursor() {
  std::optional<std::string> cursor;
  const auto say = [&](RedisCommands& commands) {
    commands.Begin(3).Add("HGET").Add(keys_.view).Add("cursor");
  };
  const auto use = [&](const RedisReplies& replies) {
    const auto items = replies.items();
    if (items.size() != 1) return UnexpectedReply(ViewName(spec_));
    if (items[0].kind == Kind::kNil) return Status::Ok();
    if (items[0].kind != Kind::kText) return UnexpectedReply(ViewName(spec_));
    cursor = replies.text(items[0]);
    return Status::Ok();
  };
  FALAJ_RETURN_IF_ERROR(pool_->Ask(WriteDeadline(), say, use));
  return cursor;
}

Result<size_t> RedisView::Entities() {
  size_t entities = 0;
  const auto say = [&](RedisCommands& commands) { commands.Begin(2).Add("HLEN").Add(keys_.rows); };
  const auto use = [&](const RedisReplies& replies) {
    const auto items = replies.items();
    if (items.size() != 1 || items[0].kind != Kind::kInteger || items[0].integer < 0) {
      return UnexpectedReply(ViewName(spec_));
    }
    entities = static_cast<size_t>(items[0].integer);
    return Status::Ok();
  };
  FALAJ_RETURN_IF_ERROR(pool_->Ask(WriteDeadline(), say, use));
  return entities;
}

}  // namespace falaj
