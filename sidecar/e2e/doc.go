// Package e2e holds the end to end tests: the warmpool binary as a process, upstreams that nobody here wrote (nginx and
// HAProxy from the distribution, go-httpbin), and gRPC clients in Go and Node, all on the loopback interface.
//
// A test whose program is not installed is skipped with the name of the package to install. With E2E_REQUIRE=1
// it fails instead, so that nothing is left out where everything is meant to run.
package e2e
