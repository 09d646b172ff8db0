// How a gRPC session ends: what its client has begun is answered, and what follows goes elsewhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wire/grpc_session_fixture.h"

namespace falaj::wire {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace)
using test::InferMessage;
using test::kInferPath;

constexpr uint32_t kNoError = 0;

class GrpcDrainTest : public test::GrpcSessionFixture {
 protected:
  GrpcDrainTest() : GrpcSessionFixture(WireOptions{}) {}
};

TEST_F(GrpcDrainTest, FinishesWhatIsUnderWayWhenItDrains) {
  host.model().script.CloseGate();
  const int32_t before = client->Call(kInferPath, InferMessage({1, 2}));
  Exchange();
  session->Drain();
  EXPECT_EQ(carrier.output_ready, 1);
  const int32_t crossing = client->Call(kInferPath, InferMessage({1, 2}));
  falaj::test::Feed(*session, client->Output());
  Exchange();
  Pass(1ms);
  ASSERT_EQ(client->goaways.size(), 2u);
  EXPECT_EQ(client->goaways[0].last_stream, INT32_MAX);
  EXPECT_EQ(client->goaways[0].error, kNoError);
  EXPECT_EQ(client->goaways[1].last_stream, crossing);
  EXPECT_FALSE(session->Finished());
  host.model().script.OpenGate();
  Answer(2);
  EXPECT_EQ(client->answer(before).status(), 0);
  EXPECT_EQ(client->answer(crossing).status(), 0);
  EXPECT_TRUE(session->Finished());
}

TEST_F(GrpcDrainTest, AnswersAClientThatIsSlowToLearnOfTheEnd) {
  Exchange();
  session->Drain();
  std::string unread = falaj::test::Drain(*session);
  host.Advance(4900ms);
  session->Tick();
  unread += falaj::test::Drain(*session);
  const int32_t late = client->Call(kInferPath, InferMessage({1, 2}));
  falaj::test::Feed(*session, client->Output());
  client->Input(unread);
  Exchange();
  Pass(1ms);
  ASSERT_EQ(client->goaways.size(), 2u);
  EXPECT_EQ(client->goaways[1].last_stream, late);
  Answer();
  EXPECT_EQ(client->answer(late).status(), 0);
  EXPECT_TRUE(session->Finished());
}

// gRPC's C core answers a ping before it writes the calls that it has begun.
TEST_F(GrpcDrainTest, AnswersAClientThatAnswersAPingBeforeItSendsWhatItBegan) {
  Exchange();
  session->Drain();
  const int32_t begun = client->Call(kInferPath, InferMessage({1, 2}));
  const std::string unsent = client->Output();
  client->Input(falaj::test::Drain(*session));
  falaj::test::Feed(*session, client->Output());
  client->Input(falaj::test::Drain(*session));
  falaj::test::Feed(*session, unsent);
  Exchange();
  Pass(1ms);
  ASSERT_EQ(client->goaways.size(), 2u);
  ASSERT_EQ(client->goaways[1].last_stream, begun);
  Answer();
  EXPECT_EQ(client->answer(begun).status(), 0);
  EXPECT_TRUE(session->Finished());
}

TEST_F(GrpcDrainTest, TellsClientsToConnectAnewWhenTheEndIsAnnounced) {
  Exchange();
  session->EndAnnounced();
  Exchange();
  ASSERT_EQ(client->goaways.size(), 1u);
  EXPECT_EQ(client->goaways[0].last_stream, INT32_MAX);
  EXPECT_FALSE(session->Finished());
  // The client's library does not answer the ping where it has no calls under way.
  Pass(4900ms);
  EXPECT_FALSE(session->Finished());
  Pass(100ms);
  EXPECT_TRUE(session->Finished());
}

// A client without another server would come back at once, and again.
TEST_F(GrpcDrainTest, StaysWhileTheEndIsOnlyAnnounced) {
  host.StartDraining();
  Exchange();
  EXPECT_TRUE(client->goaways.empty());
}

}  // namespace
}  // namespace falaj::wire
