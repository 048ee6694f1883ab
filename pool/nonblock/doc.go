// Package nonblock reads and writes sockets that do not block, without telling
// Go's scheduler of the system calls, on Linux.
//
// Told of a system call, the scheduler makes ready to take the processor away
// from the goroutine that makes it, should it block. For a call that cannot
// block that is all cost: where the process has one processor, the watcher that
// would take it (sysmon) is woken by the first call after a pause, with a thread
// switch, and then looks on every 20 µs for a millisecond. Under load that was an
// eighth of the sidecar's CPU time, and with one request in flight more.
//
// The functions are to be called from within the callbacks of a
// syscall.RawConn, which hold the descriptor open and wait for readiness.
package nonblock
