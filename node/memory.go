package node

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// garbage is how much of it may lie about, in percent of what is alive, before it is collected. What is alive in a node is some
// tens of megabytes, so that at Go's own 100 collections follow each other several times a second under load, and take a tenth
// of the processor.
const garbage = 400

// spareCollections has garbage collected seldom, and as often as need be once the heap takes half of the machine's memory. The
// environment variables GOGC and GOMEMLIMIT are an operator's word, and win.
func spareCollections() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		if all := memory(); all > 0 {
			debug.SetMemoryLimit(all / 2)
		}
	}
}

// memory returns the bytes of memory that this process may use, as far as machine and container say; 0 if they do not.
func memory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	all := int64(info.Totalram) * int64(info.Unit)
	text, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if err != nil {
		return all // no container
	}
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || limit <= 0 {
		return all // "max"
	}
	return min(all, limit)
}
