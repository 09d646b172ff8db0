#include "batch/flight_book.h"

#include "batch/request.h"

namespace falaj {

Flight* FlightBook::Find(const Digest& digest) {
  const auto found = flights_.find(digest);
  return found == flights_.end() ? nullptr : found->second.get();
}

Flight& FlightBook::Begin(const Digest& digest, Request* leader) {
  std::unique_ptr<Flight>& flight = flights_[digest];
  flight = std::make_unique<Flight>(Flight{.digest = digest, .leader = leader});
  leader->flight_ = flight.get();
  return *flight;
}

void FlightBook::Wait(Flight& flight, Request* request) {
  request->flight_ = &flight;
  request->prev_ = flight.last;
  request->next_ = nullptr;
  (flight.last != nullptr ? flight.last->next_ : flight.first) = request;
  flight.last = request;
}

void FlightBook::Leave(Request* request) {
  Flight& flight = *request->flight_;
  (request->prev_ != nullptr ? request->prev_->next_ : flight.first) = request->next_;
  (request->next_ != nullptr ? request->next_->prev_ : flight.last) = request->prev_;
  request->prev_ = request->next_ = nullptr;
  request->flight_ = nullptr;
}

Request* FlightBook::TakeFirst(Flight& flight) {
  Request* const first = flight.first;
  if (first != nullptr) Leave(first);
  return first;
}

void FlightBook::Lead(Flight& flight, Request* leader) {
  flight.leader->flight_ = nullptr;
  flight.leader = leader;
  leader->flight_ = &flight;
}

void FlightBook::End(Flight& flight) {
  flight.leader->flight_ = nullptr;
  flights_.erase(Digest(flight.digest));
}

}  // namespace falaj
