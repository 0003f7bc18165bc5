package node

import (
	"os"
	"runtime"
)

// threads is how many threads of a node run goroutines: twice as many as there are processors, unless GOMAXPROCS in the environment says how
// many. What a node does most is to wait for a sync. Whoever returns from one queues behind all goroutines that are ready, while the kernel
// lets a thread that waited go before those that calculated. The benchmarks of ledger and gate, run with -cpu 2 and with -cpu 4 on two
// processors, say what it is worth.
var threads = 2 * runtime.GOMAXPROCS(0)

func spread() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(threads)
	}
}
