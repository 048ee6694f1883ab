// Command warmpool-lab measures what warm connections are worth where the
// distance costs: on a link that delays every packet.
//
//	warmpool-lab [-quick] [-only PARTS] [-json FILE] [-chart FILE] [-oneway 25ms] [-rate BITS] [-queue BYTES]
//
// It makes two network namespaces, a TUN device in each, and carries packets
// between the two (package link), so that the TCP stacks of a real kernel see the
// round trip at both ends. In the far one are origins, net/http's server plain
// and with TLS, that close idle connections early or late. In the near one are
// HAProxy, nginx, warmpool as a process, and a caller that asks through them,
// with net/http's default transport, and on new connections. Namespaces and
// devices have no name outside and end with the processes that hold them.
//
//	link/         the link: what happens to a packet, and what carries it
//	netns/        namespaces, devices, routes
//	lab.go        builds all that, and starts the processes
//	peers.go      what the intermediaries are told
//	origin.go     the origins' process
//	caller.go     the caller's process; asking*.go: its ways to ask
//	plan.go       what is measured
//	measure.go    the sections, in order: idleness.go objects.go posts.go uploads.go keeping.go
//	              loaded.go
//	report.go     what was found; targets.go, print.go, chart.go
//
// # After idleness
//
// A sample is a request that prepares, idleness, and the same request again,
// timed from the call to the whole answer. Every sample has a slot: a pool of its
// own in each intermediary, a Transport of its own with net/http. So hundreds of
// them idle at once, none disturbs another, and an hour of idleness takes
// minutes. Small requests have rounds of their own: what is large would be
// measured in them. Bursts are of small requests: megabytes at once would measure
// this machine.
//
// A median is of all rounds. A p99 of fewer than a hundred requests is their
// maximum.
//
// # POSTs around the moment of close
//
// An origin's idle timer starts when its answer leaves, one way before the caller
// has it. POSTs are sent from 100 ms before to 50 ms after that timer ends, each
// on a connection of its own. Those that leave within one round trip before the
// close arrives meet a closed connection. The origin counts those that it carries
// out twice. Warmpool does it three times: when it has seen the origin close three
// idle connections, and when it has seen none, with a floor and without.
//
// # What is fair
//
// The proxies give up nothing that they can keep (peers.go), and net/http has as
// many transports as there are slots. The near kernel's congestion control is
// cubic, and slow start after idleness is on, as a kernel has them by default.
//
// Exit code 0: measured, or skipped where Linux, root or /dev/net/tun is lacking.
// 1: it failed, or warmpool failed a request. 2: bad usage.
package main
