package door

import "context"

// Climb lets a book look once at its stages.
func Climb(b *Book) { b.climb(context.Background()) }
