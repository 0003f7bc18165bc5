package attack

import "embed"

// builtin are the families that come with the program.
//
//go:embed families/*.yaml
var builtin embed.FS
