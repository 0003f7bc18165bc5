package follow

// What tests need to lie.
type Frame = frame

var (
	WriteFrame = writeFrame
	ReadFrame  = readFrame
)
