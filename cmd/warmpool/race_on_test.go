//go:build race

package main

// raceFlags build the binary under test like the tests themselves.
var raceFlags = []string{"-race"}
