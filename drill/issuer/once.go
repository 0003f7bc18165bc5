package issuer

import (
	"container/list"
	"sync"
	"time"

	"github.com/querschott/querschott/wire/jose"
)

const (
	maxRemembered = 10_000
	maxClients    = 256 // A_25748-02
)

// once remembers values until they expire. mu guards until.
type once struct {
	mu    *sync.Mutex
	until map[string]time.Time
}

func newOnce() once { return once{new(sync.Mutex), map[string]time.Time{}} }

// add remembers a value. False: it is remembered already, or there is no room.
func (o *once) add(value string, until, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t, ok := o.until[value]; ok && now.Before(t) {
		return false
	}
	if len(o.until) >= maxRemembered {
		for v, t := range o.until {
			if !now.Before(t) {
				delete(o.until, v)
			}
		}
		if len(o.until) >= maxRemembered {
			return false
		}
	}
	o.until[value] = until
	return true
}

// take forgets a value and reports whether it was remembered: whoever takes it first has it.
func (o *once) take(value string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	until, ok := o.until[value]
	delete(o.until, value)
	return ok && now.Before(until)
}

// client is a registered client.
type client struct {
	id       string
	keys     jose.KeySet
	practice Practice
	issued   time.Time
	place    *list.Element
}

// clients holds the newest clients. mu guards the rest; the zero value is ready.
type clients struct {
	mu    sync.Mutex
	byID  map[string]*client
	byKey map[string]*client // by thumbprint
	order list.List          // of *client, the oldest first
}

// add registers a client; the oldest makes room. False: one of its keys is another client's.
func (c *clients) add(n *client) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID, c.byKey = map[string]*client{}, map[string]*client{}
	}
	for _, k := range n.keys {
		if c.byKey[k.Thumbprint()] != nil {
			return false
		}
	}
	if c.order.Len() >= maxClients {
		c.drop(c.order.Front())
	}
	for _, k := range n.keys {
		c.byKey[k.Thumbprint()] = n
	}
	c.byID[n.id], n.place = n, c.order.PushBack(n)
	return true
}

func (c *clients) drop(e *list.Element) {
	old, ok := c.order.Remove(e).(*client)
	if !ok {
		return
	}
	delete(c.byID, old.id)
	for _, k := range old.keys {
		delete(c.byKey, k.Thumbprint())
	}
}

func (c *clients) find(id string) *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byID[id]
}
