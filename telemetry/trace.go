package telemetry

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/querschott/querschott"
)

// Trace makes one span of an access event: the class of the request, when it came, when its answer began, how it ended.
// Who called, for whom, from where and whose data it was is not in it (gemSpec_ZETA A_27260). The trace's id is the request's id, so that
// whoever was given an X-Request-Id finds the trace and nobody else can tell requests of one caller from others.
//
// It is called with events of the stream, after the answer has gone, and never waits.
func (e *Export) Trace(a querschott.Access) {
	id := traceID(a.RequestID)
	if e.tracer == nil || !sampled(id, e.cfg.Share) {
		return
	}
	e.spans.made.Add(1)
	_, span := e.tracer.Start(context.WithValue(context.Background(), idKey{}, id), name(a),
		trace.WithTimestamp(a.Time), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attributes(a)...))
	if a.Status >= 500 {
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(a.Time.Add(time.Duration(max(a.Took, 0)) * time.Microsecond)))
}

// Follow hands every event to all that look at them, until the channel is closed or the context ends.
func Follow(ctx context.Context, events <-chan querschott.Access, look ...func(querschott.Access)) {
	for {
		select {
		case <-ctx.Done():
			return
		case a, ok := <-events:
			if !ok {
				return
			}
			for _, fn := range look {
				fn(a)
			}
		}
	}
}

const maxName = 120

// name is the class of the request. A route has no variable part; what looks like one is taken out all the same.
func name(a querschott.Access) string {
	if a.Query == "" {
		return "request"
	}
	return scrub(a.Query, maxName)
}

func attributes(a querschott.Access) []attribute.KeyValue {
	list := make([]attribute.KeyValue, 0, 8)
	word := func(key string, l Label, value string) {
		if value == "" {
			return
		}
		if !l.holds(value) {
			value = other
		}
		list = append(list, attribute.String(key, value))
	}
	method, _, _ := strings.Cut(a.Query, " ")
	if knownMethod(method) {
		list = append(list, attribute.String("http.request.method", method))
	}
	if a.Status != 0 {
		list = append(list, attribute.Int("http.response.status_code", a.Status))
	}
	word("querschott.service", LabelService, string(a.Service))
	word("querschott.outcome", LabelOutcome, a.Outcome)
	word("querschott.cause", LabelCause, a.Cause)
	word("querschott.action", LabelName, a.Action)
	return list
}

func knownMethod(m string) bool {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return true
	}
	return false
}

// traceID returns the id of a request as the id of its trace, a random one if it is no UUID.
func traceID(request string) (id trace.TraceID) {
	b, err := hex.DecodeString(strings.ReplaceAll(request, "-", ""))
	if err == nil && len(b) == len(id) {
		copy(id[:], b)
	}
	if !id.IsValid() {
		_, _ = rand.Read(id[:]) // never fails
	}
	return id
}

// sampled decides by the last six octets, which are random in UUIDs of version 4 and 7: all gates decide the same.
func sampled(id trace.TraceID, share float64) bool {
	last := binary.BigEndian.Uint64(id[8:]) & (1<<48 - 1)
	return float64(last) < share*(1<<48)
}

type idKey struct{}

// ids gives a span the trace id that its maker chose.
type ids struct{}

func (g ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	id, _ := ctx.Value(idKey{}).(trace.TraceID)
	return id, g.NewSpanID(ctx, id)
}

func (ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		_, _ = rand.Read(id[:]) // never fails
	}
	return id
}

func spanLimits() sdktrace.SpanLimits {
	return sdktrace.SpanLimits{AttributeValueLengthLimit: maxName, AttributeCountLimit: 16}
}
