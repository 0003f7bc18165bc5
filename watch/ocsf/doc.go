// Package ocsf reads and writes security events in the Open Cybersecurity Schema Framework, version 1.8: the classes that
// the early warning needs, by hand.
//
// In: datastore_activity (6005), api_activity (6003), authentication (3002) and user_access (3005) become access events.
// Where OCSF has no word for what the house needs, the event's unmapped object has the house's own: subject_tenant, subject,
// reason_ref, query_shape, field_group, service, actor_role, cause, door_epoch.
//
// Out: an alarm becomes a detection_finding (2004).
//
// What it promises: an event of another class or version 0, without its required attributes, or with a type_uid that is not
// class_uid*100 + activity_id is an error and never half an event. Attributes that it does not know are left out, as the
// schema demands of readers. Numbers of persons belong in no event: subject is a pseudonym.
package ocsf
