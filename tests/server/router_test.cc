#include "tools/server/http/router.h"

#include <string>

#include "gtest/gtest.h"

namespace varve::http {
namespace {

TEST(RouterTest, FindsRoutesParametersAndMethods) {
  Router router;
  const Handler handler = [](Request&) { return Response(); };
  router.Add(kGetPost, "/api/v1/query", handler);
  router.Add(kGetOnly, "/api/v1/label/:name/values", handler);
  router.Add(kPostPut, "/admin", handler);
  router.Add(kGetOnly, "/static/*path", handler);
  router.Add(kGetOnly, "/", handler);

  auto match = router.Find(Method::kGet, {"api", "v1", "label", "a/b", "values"});
  ASSERT_NE(match.route, nullptr);
  EXPECT_EQ(match.route->name, "/api/v1/label/:name/values");
  EXPECT_EQ(match.path_params.Get("name"), "a/b");
  EXPECT_NE(router.Find(Method::kHead, {"api", "v1", "query"}).route, nullptr);
  EXPECT_EQ(router.Find(Method::kGet, {"static", "a", "b"}).path_params.Get("path"), "a/b");
  EXPECT_NE(router.Find(Method::kGet, {""}).route, nullptr);

  match = router.Find(Method::kDelete, {"api", "v1", "query"});
  EXPECT_EQ(match.route, nullptr);
  EXPECT_EQ(AllowOf(match.allowed), "GET, HEAD, POST, OPTIONS");
  EXPECT_EQ(AllowOf(router.Find(Method::kGet, {"admin"}).allowed), "POST, PUT, OPTIONS");

  // What fits any path makes none known.
  router.Add(Only(Method::kPut), "/:name", handler);
  EXPECT_EQ(router.Find(Method::kPut, {"anything"}).route->name, "/:name");
  EXPECT_EQ(router.Find(Method::kPut, {"admin"}).route->name, "/admin");
  EXPECT_EQ(router.Find(Method::kGet, {"anything"}).allowed, 0);

  EXPECT_EQ(router.Find(Method::kGet, {"api", "v1", "query", ""}).allowed, 0);
  EXPECT_EQ(router.Find(Method::kGet, {"api", "v1", "label", "", "values"}).allowed, 0);
  EXPECT_EQ(router.Find(Method::kGet, {"api"}).allowed, 0);
  EXPECT_EQ(router.Find(Method::kGet, {}).allowed, 0);
}

TEST(MessageTest, HeadersCompareWithoutCase) {
  Headers headers;
  headers.Add("Accept", "a");
  headers.Add("aCCept", "b");
  EXPECT_EQ(headers.Get("ACCEPT"), "a");
  EXPECT_EQ(headers.Joined("accept"), "a, b");
  headers.Set("accept", "c");
  EXPECT_EQ(headers.size(), 1u);
}

TEST(MessageTest, CancelCallsBackOnceNowOrLater) {
  CancelFlag flag;
  int calls = 0;
  flag.OnCancel([&] { ++calls; });
  EXPECT_EQ(calls, 0);
  flag.Cancel();
  flag.Cancel();
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(flag.cancelled());
  flag.OnCancel([&] { ++calls; });
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace varve::http
