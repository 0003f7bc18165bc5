// Package outbox holds mail that leaves the house until it has left.
package outbox
