#include "join/point_in_time.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <tuple>

#include "join/feature_columns.h"

namespace falaj {
namespace {

constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

struct Record {
  int64_t event;
  int64_t visible;  // max(event, known + delay): from when on it can be seen
  uint32_t row;
};

struct Question {
  int64_t time;
  uint32_t row;
};

// Things of entities [first, last), laid out one entity after the other.
struct Range {
  size_t first, last;
  size_t records, questions;  // where theirs begin
};

// Elements of T that are grouped by entity, in the order of the source.
template <typename T>
struct Grouped {
  std::unique_ptr<T[]> items;
  std::vector<uint32_t> next;  // of each entity: where its next item goes; in the end, its end
};

template <typename T>
Result<Grouped<T>> Room(std::span<const int32_t> entity, int32_t entities, const char* what) {
  Grouped<T> grouped;
  grouped.next.resize(static_cast<size_t>(entities) + 1);
  for (size_t i = 0; i < entity.size(); ++i) {
    if (entity[i] < 0) continue;
    if (entity[i] >= entities) {
      return InvalidInput(std::string(what) + ": row " + std::to_string(i) + ": expected an entity below " +
                          std::to_string(entities) + ", got " + std::to_string(entity[i]));
    }
    ++grouped.next[static_cast<size_t>(entity[i]) + 1];
  }
  for (size_t e = 1; e < grouped.next.size(); ++e) grouped.next[e] += grouped.next[e - 1];
  grouped.items = std::make_unique_for_overwrite<T[]>(grouped.next.back());
  return grouped;
}

// One join. Each range is worked on by one thread, which writes nothing of another's.
class Join {
 public:
  Join(const HistoryRows& history, const SpineRows& spine, const JoinRules& rules, const JoinAnswers& answers,
       Grouped<Record> records, Grouped<Question> questions)
      : history_(history),
        spine_(spine),
        rules_(rules),
        answers_(answers),
        records_(std::move(records)),
        questions_(std::move(questions)) {}

  // Of about the same work each.
  std::vector<Range> Divide() const {
    const size_t entities = records_.next.size() - 1;
    const auto work = [this](size_t e) { return size_t{records_.next[e]} + questions_.next[e]; };
    std::vector<Range> ranges;
    size_t first = 0;
    for (unsigned t = 0; t < rules_.threads && first < entities; ++t) {
      const size_t until = work(entities) / rules_.threads * (t + 1);
      size_t last = first + 1;
      while (last < entities && (t + 1 == rules_.threads || work(last) < until)) ++last;
      ranges.push_back({first, last, records_.next[first], questions_.next[first]});
      first = last;
    }
    return ranges;
  }

  // Returns the rows that nothing tells apart.
  std::vector<uint32_t> Answer(const Range& range) {
    std::vector<uint32_t> tied;
    Group(range);
    size_t record = range.records, question = range.questions;
    for (size_t e = range.first; e < range.last; ++e) {
      const std::span<Record> records(records_.items.get() + record, records_.next[e] - record);
      const std::span<const Question> questions(questions_.items.get() + question,
                                                questions_.next[e] - question);
      if (!questions.empty()) AnswerEntity(records, questions, tied);
      record = records_.next[e];
      question = questions_.next[e];
    }
    return tied;
  }

  // A row whose known + delay is beyond the largest time; kNone without any. To be asked when all have ended.
  uint32_t beyond() const { return beyond_; }

 private:
  void Group(const Range& range) {
    const auto mine = [&range](int32_t entity) {
      return entity >= 0 && static_cast<size_t>(entity) >= range.first &&
             static_cast<size_t>(entity) < range.last;
    };
    for (size_t i = 0; i < history_.entity.size(); ++i) {
      if (!mine(history_.entity[i])) continue;
      int64_t usable = 0;
      if (__builtin_add_overflow(history_.known[i], rules_.delay_us, &usable)) {
        beyond_ = static_cast<uint32_t>(i);
      }
      records_.items[records_.next[static_cast<size_t>(history_.entity[i])]++] = {
          history_.event[i], std::max(history_.event[i], usable), static_cast<uint32_t>(i)};
    }
    for (size_t i = 0; i < spine_.entity.size(); ++i) {
      if (!mine(spine_.entity[i])) continue;
      questions_.items[questions_.next[static_cast<size_t>(spine_.entity[i])]++] = {spine_.time[i],
                                                                                    static_cast<uint32_t>(i)};
    }
  }

  std::tuple<int64_t, int64_t, int64_t> Order(const Record& record) const {
    return {history_.known[record.row], history_.sequence.empty() ? 0 : history_.sequence[record.row],
            history_.place.empty() ? 0 : history_.place[record.row]};
  }

  bool Before(const Record& a, const Record& b) const {
    if (a.event != b.event) return a.event < b.event;
    const auto one = Order(a), other = Order(b);
    return one != other ? one < other : a.row < b.row;
  }

  bool Tied(const Record& a, const Record& b) const { return a.event == b.event && Order(a) == Order(b); }

  void AnswerEntity(std::span<Record> records, std::span<const Question> questions,
                    std::vector<uint32_t>& tied) {
    std::sort(records.begin(), records.end(),
              [this](const Record& a, const Record& b) { return Before(a, b); });
    for (const Question& question : questions) {
      const auto after =
          std::upper_bound(records.begin(), records.end(), question.time,
                           [](int64_t time, const Record& record) { return time < record.event; });
      // Of its event, the one before is known last.
      answers_.late[question.row] = after != records.begin() && std::prev(after)->visible > question.time;
    }
    const std::span<const Record> frontier = Frontier(records, tied);
    for (const Question& question : questions) {
      const auto after =
          std::upper_bound(frontier.begin(), frontier.end(), question.time,
                           [](int64_t time, const Record& record) { return time < record.visible; });
      if (after != frontier.begin()) Set(question, *std::prev(after));
    }
  }

  // Of rows in order, those that are the newest of all that can be seen at some time: no newer one could be
  // seen already when they could. Both their events and the times from which they are visible ascend.
  std::span<const Record> Frontier(std::span<Record> records, std::vector<uint32_t>& tied) const {
    size_t kept = records.size();
    for (size_t i = records.size(); i-- > 0;) {
      if (kept < records.size() && records[i].visible >= records[kept].visible) continue;
      if (i > 0 && Tied(records[i - 1], records[i])) {
        size_t first = i;
        while (first > 0 && Tied(records[first - 1], records[i])) --first;
        for (size_t each = first; each <= i; ++each) tied.push_back(records[each].row);
      }
      records[--kept] = records[i];
    }
    return records.subspan(kept);
  }

  void Set(const Question& question, const Record& record) const {
    if (!history_.deleted.empty() && history_.deleted[record.row] != 0) return;
    int64_t age = 0;
    const bool endless = __builtin_sub_overflow(question.time, record.event, &age);
    if (rules_.ttl_us && (endless || age > *rules_.ttl_us)) {
      answers_.status[question.row] = static_cast<uint8_t>(Presence::kExpired);
      return;
    }
    answers_.status[question.row] = static_cast<uint8_t>(Presence::kPresent);
    answers_.row[question.row] = record.row;
  }

  const HistoryRows history_;
  const SpineRows spine_;
  const JoinRules rules_;
  const JoinAnswers answers_;
  Grouped<Record> records_;
  Grouped<Question> questions_;
  std::atomic<uint32_t> beyond_{kNone};  // says no more than which row; the threads' end publishes it
};

Status Check(const HistoryRows& history, const SpineRows& spine, const JoinRules& rules,
             const JoinAnswers& answers) {
  const auto check = [](const char* what, size_t size, size_t expected) {
    if (size == expected) return Status::Ok();
    return InvalidInput(std::string(what) + ": expected " + std::to_string(expected) + " rows, got " +
                        std::to_string(size));
  };
  const size_t rows = history.entity.size();
  const auto optional = [&](const char* what, size_t size) {
    return size == 0 ? Status::Ok() : check(what, size, rows);
  };
  FALAJ_RETURN_IF_ERROR(check("event", history.event.size(), rows));
  FALAJ_RETURN_IF_ERROR(check("known", history.known.size(), rows));
  FALAJ_RETURN_IF_ERROR(optional("sequence", history.sequence.size()));
  FALAJ_RETURN_IF_ERROR(optional("place", history.place.size()));
  FALAJ_RETURN_IF_ERROR(optional("deleted", history.deleted.size()));
  FALAJ_RETURN_IF_ERROR(check("spine time", spine.time.size(), spine.entity.size()));
  FALAJ_RETURN_IF_ERROR(check("answers' row", answers.row.size(), spine.entity.size()));
  FALAJ_RETURN_IF_ERROR(check("answers' status", answers.status.size(), spine.entity.size()));
  FALAJ_RETURN_IF_ERROR(check("answers' late", answers.late.size(), spine.entity.size()));
  for (const size_t size : {rows, spine.entity.size()}) {
    if (size >= kNone) {
      return InvalidInput("expected fewer than " + std::to_string(kNone) + " rows, got " +
                          std::to_string(size));
    }
  }
  if (rules.entities < 0) {
    return InvalidInput("entities: expected 0 or more, got " + std::to_string(rules.entities));
  }
  if (rules.threads == 0) return InvalidInput("threads: expected at least 1, got 0");
  return Status::Ok();
}

}  // namespace

Result<std::vector<uint32_t>> JoinPointInTime(const HistoryRows& history, const SpineRows& spine,
                                              const JoinRules& rules, JoinAnswers answers) try {
  FALAJ_RETURN_IF_ERROR(Check(history, spine, rules, answers));
  std::fill(answers.row.begin(), answers.row.end(), -1);
  std::fill(answers.status.begin(), answers.status.end(), static_cast<uint8_t>(Presence::kMissing));
  std::fill(answers.late.begin(), answers.late.end(), uint8_t{0});
  auto records = Room<Record>(history.entity, rules.entities, "history");
  if (!records.ok()) return records.status();
  auto questions = Room<Question>(spine.entity, rules.entities, "spine");
  if (!questions.ok()) return questions.status();
  Join join(history, spine, rules, answers, std::move(*records), std::move(*questions));
  std::vector<std::future<std::vector<uint32_t>>> working;
  for (const Range& range : join.Divide()) {
    working.push_back(std::async(std::launch::async, [&join, range] { return join.Answer(range); }));
  }
  std::vector<uint32_t> tied;
  for (auto& each : working) {
    const std::vector<uint32_t> found = each.get();
    tied.insert(tied.end(), found.begin(), found.end());
  }
  if (join.beyond() != kNone) {
    return InvalidInput(
        "known + delay is beyond the largest time: " + std::to_string(history.known[join.beyond()]) + " + " +
        std::to_string(rules.delay_us));
  }
  return tied;
} catch (const std::bad_alloc&) {
  return Internal("no memory for a point-in-time join of " + std::to_string(history.entity.size()) + " rows");
} catch (const std::system_error& error) {
  return Internal(std::string("no thread for a point-in-time join: ") + error.what());
}

}  // namespace falaj
