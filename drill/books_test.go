package drill

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/intake"
)

func promise(i int) Promise {
	services := querschott.MailServices()
	return Promise{
		Binding:     intake.BindingOf("sender", fmt.Sprint(i)),
		Compartment: querschott.Compartment{Insurer: querschott.IKFromNumber(uint32(100000000 + i%80)), Service: services[i%len(services)]},
		Receipt:     fmt.Sprintf("2.0.0 seq %d on 2 copies", i), At: time.UnixMicro(int64(1_790_000_000_000_000 + i)),
	}
}

func TestBooksKeepEveryPromise(t *testing.T) {
	const n = 2*chunkRows + 17
	var b Books
	for i := range n {
		b.Add(promise(i))
	}
	if b.Len() != n {
		t.Fatalf("%d promises, want %d", b.Len(), n)
	}
	i := 0
	for got := range b.All() {
		if i == 3 {
			b.Add(promise(n)) // comes too late for this reading
		}
		if got != promise(i) {
			t.Fatalf("promise %d is %+v, want %+v", i, got, promise(i))
		}
		i++
	}
	if i != n || b.Len() != n+1 {
		t.Errorf("read %d promises of %d, now %d", i, n, b.Len())
	}
	for range b.All() {
		break
	}
	if diff := cmp.Diff(promise(n), b.At(n)); diff != "" {
		t.Error(diff)
	}
}

func TestBooksCutReceipts(t *testing.T) {
	var b Books
	p := promise(0)
	p.Receipt = strings.Repeat("x", 500)
	b.Add(p)
	if got := b.At(0).Receipt; got != strings.Repeat("x", maxReceipt) {
		t.Errorf("the receipt has %d octets", len(got))
	}
}

func TestPromisesAreSmall(t *testing.T) {
	const typical = len("2.0.0 seq 16777217 on 2 copies, 2026-10-05")
	if size := unsafe.Sizeof(row{}) + uintptr(typical); size > 100 {
		t.Errorf("a promise takes %d octets", size)
	}
}
