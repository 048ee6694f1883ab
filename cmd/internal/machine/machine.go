// Package machine tells what a measurement runs on.
package machine
