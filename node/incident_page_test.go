package node

import (
	"testing"

	"github.com/querschott/querschott/watch"
)

// TestLiveAlarmsAreKept fills the page's list with alarms in shadow mode: those that are live stay.
func TestLiveAlarmsAreKept(t *testing.T) {
	live, shadow := &watch.Alarm{Mode: watch.Live}, &watch.Alarm{Mode: watch.Shadow}
	var list []heard
	for range 3 {
		list = keepShown(append(list, heard{alarm: live}))
	}
	for range 3 * shownAlarms {
		list = keepShown(append(list, heard{alarm: shadow}))
	}
	if len(list) != shownAlarms || list[0].alarm != live || list[2].alarm != live || list[3].alarm != shadow {
		t.Errorf("%d alarms are kept, the first of them %s", len(list), list[0].alarm.Mode)
	}
	last := &watch.Alarm{Mode: watch.Live}
	for range 2 * shownAlarms {
		list = keepShown(append(list, heard{alarm: last}))
	}
	if len(list) != shownAlarms || list[0].alarm != last {
		t.Errorf("%d alarms are kept; with live ones only the oldest goes", len(list))
	}
}
