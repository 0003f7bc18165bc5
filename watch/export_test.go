package watch

// Stop makes a detector say nothing more.
func Stop(w *Watch, name string) {
	for i, d := range w.detectors {
		if d.Name() == name {
			w.detectors[i] = silent{mute{d}}
		}
	}
}

// silent is a detector that is there and finds nothing.
type silent struct{ mute }
