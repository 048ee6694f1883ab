// Command warmpool-bench measures warmpool beside its peers: HAProxy,
// httputil.ReverseProxy and no intermediary at all, in one run on one machine.
//
//	warmpool-bench [-rounds 5] [-run REGEXP] [-json FILE] [-profile DIR] [-other BINARY] [-client-procs 1] [-own-cpu=false] [-quick]
//
// Everything that costs CPU is a process of its own, so that the kernel's
// accounting tells who spent what: an origin that answers from memory, the
// intermediary under test, and the client that asks. The client of a proxy is
// net/http, that of warmpool is grpc-go for Send and the Go client, with
// requests and responses of net/http, for Session and Stream; all reach the intermediary over a
// Unix socket unless the row says otherwise, and the intermediary reaches the
// origin over loopback TCP.
//
// Origin and client run Go code on one thread each, unless -client-procs says
// otherwise: on a small machine a client's second thread would take the CPU of
// what is measured, and waking it costs a client of many short requests more than
// the requests do.
//
// Rows that are compared with each other (same number in flight, same size of
// answer) take turns within a round, and each round begins with another row.
// The first round warms up and is dropped. A ratio is taken within a round,
// where whatever else the machine did weighs on both sides, and the median of
// these ratios is reported with the smallest and the largest one: read ratios,
// not absolute figures.
//
// Two kinds of groups compare warmpool with itself: what a modest caller sees
// beside one with a thousand requests in flight ("greedy"), and what metrics and
// traces cost ("telemetry"). Their cost is about as large as the difference between
// two rounds: judge it by many -rounds, or by a profile.
//
// Every answer's status and length is checked, and the origin must have served
// each request. One wrong answer makes the run fail: exit code 1. Bad usage is
// exit code 2.
//
// The processes are this same binary, started with one of the words origin,
// client, reverseproxy and sidecar; each is told what to do by lines of JSON on
// its standard input and ends with it. HAProxy comes from the distribution and
// may be missing, which its rows then say; warmpool is built from
// cmd/warmpool unless -warmpool names a binary.
package main
