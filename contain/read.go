package contain

import (
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	identifier   = regexp.MustCompile(`^[a-z][a-z0-9-]+[a-z0-9]--[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[1-5][0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$`)
	variableName = regexp.MustCompile(`^__[a-zA-Z_][a-zA-Z0-9_-]{0,199}__$`)
)

// Extension is the id of the extension that holds what was agreed about a step: inverse, time to live, what happens on timeout.
const Extension = "extension-definition--6f2c1f3e-6f0a-4c3e-9b0b-7d1f5a9e2c11"

// Bounds of what was agreed.
const (
	maxSteps    = 100
	maxCommands = 10
	maxDeadline = time.Minute
	minTTL      = time.Minute
	maxTTL      = 7 * 24 * time.Hour
)

// given are the variables that a run gets from its alarm and from what the judge said.
var given = []string{
	"__actor__", "__credential__", "__insurer__", "__service__", "__detector__", "__cause__", "__kind__", "__severity__", "__group__", "__door__",
	"__whole__",
}

// Properties that describe and change nothing.
var (
	topWords = []string{
		"description", "playbook_types", "playbook_activities", "priority", "severity", "impact", "industry_sectors", "external_references",
		"derived_from", "related_to", "markings", "data_marking_definitions", "playbook_processing_summary",
	}
	stepWords    = []string{"name", "description", "external_references", "owner"}
	commandWords = []string{"description", "version", "playbook_activity", "external_references"}
)

// Properties that every kind of step may have besides, each read by its function.
var stepProperties = map[string][]string{
	"start":            {"on_completion"},
	"end":              {},
	"action":           {"on_completion", "on_success", "on_failure", "commands", "agent", "in_args", "timeout", "step_extensions"},
	"if-condition":     {"on_completion", "condition", "on_true", "on_false"},
	"switch-condition": {"on_completion", "switch", "cases"},
	"parallel":         {"on_completion", "next_steps"},
	"playbook-action":  {"on_completion", "playbook_id"},
}

// reader collects what is wrong with a playbook.
type reader struct {
	p        *Playbook
	external map[string]bool   // variables that the run provides
	agents   map[string]string // kind by id
	faults   Faults
}

func (r *reader) fault(step, format string, args ...any) {
	if len(r.faults) < maxFaults {
		r.faults = append(r.faults, Fault{step, fmt.Sprintf(format, args...)})
	}
}

// only refuses properties that are neither read nor mere words.
func (r *reader) only(step string, object map[string]any, what string, known ...[]string) {
	all := slices.Concat(known...)
	for _, name := range slices.Sorted(maps.Keys(object)) {
		if !slices.Contains(all, name) {
			r.fault(step, "the property %.60q of %s is not executed here", name, what)
		}
	}
}

func (r *reader) text(step string, object map[string]any, name string, must bool) string {
	v, there := object[name]
	s, ok := v.(string)
	switch {
	case there && !ok:
		r.fault(step, "%s must be a text", name)
	case must && s == "":
		r.fault(step, "%s is missing", name)
	case len(s) > 4000:
		r.fault(step, "%s is longer than 4000 bytes", name)
	}
	return s
}

func (r *reader) id(step string, object map[string]any, name string, must bool) string {
	s := r.text(step, object, name, must)
	if s != "" && !identifier.MatchString(s) {
		r.fault(step, "%s is no identifier", name)
	}
	return s
}

func (r *reader) time(object map[string]any, name string, must bool) time.Time {
	s := r.text("", object, name, must)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || !strings.HasSuffix(s, "Z") {
		r.fault("", "%s is no time of the form 2026-11-29T12:00:00Z", name)
	}
	return t
}

func (r *reader) object(step string, object map[string]any, name string, must bool) map[string]any {
	v, there := object[name]
	m, ok := v.(map[string]any)
	switch {
	case there && !ok:
		r.fault(step, "%s must be an object", name)
	case must && !there:
		r.fault(step, "%s is missing", name)
	}
	return m
}

func (r *reader) list(step string, object map[string]any, name string) []string {
	v, there := object[name]
	all, ok := v.([]any)
	if there && !ok {
		r.fault(step, "%s must be a list", name)
	}
	texts := make([]string, 0, len(all))
	for _, e := range all {
		s, ok := e.(string)
		if !ok {
			r.fault(step, "%s must be a list of texts", name)
			return nil
		}
		texts = append(texts, s)
	}
	return texts
}

func (r *reader) number(step string, object map[string]any, name string) float64 {
	f, ok := object[name].(float64)
	if !ok {
		r.fault(step, "%s is missing, or no number", name)
	}
	return f
}

func (r *reader) top(top map[string]any) {
	r.only("", top, "the playbook", topWords, []string{
		"type", "spec_version", "id", "name", "created_by", "created", "modified", "revoked", "valid_from", "valid_until", "labels",
		"playbook_variables", "workflow_start", "workflow", "agent_definitions", "extension_definitions", "signatures",
	})
	if top["type"] != "playbook" || top["spec_version"] != "cacao-2.0" {
		r.fault("", "it is no playbook of spec_version cacao-2.0")
	}
	p := r.p
	p.ID, p.Name = r.id("", top, "id", true), r.text("", top, "name", true)
	p.CreatedBy = r.id("", top, "created_by", true)
	if !strings.HasPrefix(p.ID, "playbook--") {
		r.fault("", "its id does not begin with playbook--")
	}
	p.Created, p.Modified = r.time(top, "created", true), r.time(top, "modified", true)
	p.From, p.Until = r.time(top, "valid_from", false), r.time(top, "valid_until", false)
	if v, there := top["revoked"]; there {
		b, ok := v.(bool)
		if p.Revoked = b; !ok {
			r.fault("", "revoked must be true or false")
		}
	}
	r.triggers(r.list("", top, "labels"))
	r.variables(r.object("", top, "playbook_variables", false))
	r.agentDefinitions(r.object("", top, "agent_definitions", false))
	r.signatures(top)
	p.start = r.id("", top, "workflow_start", true)
	r.workflow(r.object("", top, "workflow", true))
}

// triggers reads the labels "alarm:D1/cap-minute", "alarm:D1" and "alarm:*"; other labels are words.
func (r *reader) triggers(labels []string) {
	for _, l := range labels {
		if t, ok := strings.CutPrefix(l, "alarm:"); ok && t != "" {
			r.p.Triggers = append(r.p.Triggers, t)
		}
	}
}

func (r *reader) variables(all map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		v, ok := all[name].(map[string]any)
		if !ok || !variableName.MatchString(name) {
			r.fault("", "the variable %.60q has no name of the form __name__, or is no object", name)
			continue
		}
		r.only("", v, "the variable "+name, []string{"type", "description", "value", "constant", "external"})
		value, fixed := v["value"].(string)
		if v["type"] != "string" {
			r.fault("", "the variable %s is not of type string", name)
		}
		switch external, _ := v["external"].(bool); {
		case external && !slices.Contains(given, name):
			r.fault("", "the variable %s is external, and no alarm has it; there are %s", name, strings.Join(given, ", "))
		case external && fixed:
			r.fault("", "the variable %s is external and has a value", name)
		case external:
			r.external[name] = true
		case !fixed:
			r.fault("", "the variable %s has no value", name)
		case slices.Contains(given, name):
			r.fault("", "the variable %s is what an alarm says: it must be external", name)
		default:
			r.p.constants[name] = value
		}
	}
}

// variable refuses a variable that nobody gives a value.
func (r *reader) variable(step, name string) {
	if _, ok := r.p.constants[name]; !ok && !r.external[name] {
		r.fault(step, "the variable %.60q is not declared", name)
	}
}

// startLine is the only one that an openc2-http command may have: nothing is sent, this program executes the order itself.
const startLine = "POST /openc2 HTTP/1.1"

// Actuator is the name of our actuator profile, and of the agent that executes its commands: this program itself.
const Actuator = "x-querschott-door"

func (r *reader) agentDefinitions(all map[string]any) {
	for _, id := range slices.Sorted(maps.Keys(all)) {
		a, _ := all[id].(map[string]any)
		kind, name := r.text(id, a, "type", true), r.text(id, a, "name", true)
		switch kind {
		case "http-api":
			r.only(id, a, "an agent", []string{"type", "name", "description", "address", "category"})
			if name != Actuator {
				r.fault(id, "commands go to the agent %s only, which is this program; there is no other HTTP API", Actuator)
			}
		case "individual", "group", "organization":
		default:
			r.fault(id, "the agent type %.40q cannot be reached from here", kind)
		}
		r.agents[id] = kind
	}
}

func (r *reader) workflow(all map[string]any) {
	if len(all) > maxSteps {
		r.fault("", "it has more than %d steps", maxSteps)
		return
	}
	for _, id := range slices.Sorted(maps.Keys(all)) {
		s, ok := all[id].(map[string]any)
		if !ok {
			r.fault(id, "a step is an object")
			continue
		}
		r.step(id, s)
	}
}

func (r *reader) step(id string, object map[string]any) {
	kind := r.text(id, object, "type", true)
	own, known := stepProperties[kind]
	if !known {
		r.fault(id, "the step type %.40q is not executed here", kind)
		return
	}
	if !strings.HasPrefix(id, kind+"--") || !identifier.MatchString(id) {
		r.fault(id, "the id is not %s--UUID", kind)
	}
	r.only(id, object, "the step", stepWords, []string{"type"}, own)
	s := &step{id: id, kind: kind, name: r.text(id, object, "name", false)}
	s.completion, s.success, s.failure = r.id(id, object, "on_completion", false), r.id(id, object, "on_success", false), r.id(id, object, "on_failure", false)
	switch {
	case kind == "end":
	case s.completion == "" && s.success == "":
		r.fault(id, "on_completion is missing")
	case s.completion != "" && (s.success != "" || s.failure != ""):
		r.fault(id, "on_completion excludes on_success and on_failure")
	}
	switch kind {
	case "action":
		r.action(s, object)
	case "if-condition":
		r.ifCondition(s, object)
	case "switch-condition":
		r.switchCondition(s, object)
	case "parallel":
		if s.branches = r.list(id, object, "next_steps"); len(s.branches) < 2 {
			r.fault(id, "next_steps needs at least two steps")
		}
	case "playbook-action":
		s.playbook = r.id(id, object, "playbook_id", true)
	}
	r.p.steps[id] = s
}

func (r *reader) ifCondition(s *step, object map[string]any) {
	s.onTrue, s.onFalse = r.id(s.id, object, "on_true", true), r.id(s.id, object, "on_false", false)
	var err error
	if s.condition, err = parseCondition(r.text(s.id, object, "condition", true)); err != nil {
		r.fault(s.id, "%v", err)
	}
	for _, c := range s.condition {
		r.variable(s.id, c.variable)
	}
}

func (r *reader) switchCondition(s *step, object map[string]any) {
	name, ok := variableOf(r.text(s.id, object, "switch", true))
	if !ok {
		r.fault(s.id, "switch is not of the form __name__:value")
	}
	r.variable(s.id, name)
	s.variable, s.cases = name, map[string]string{}
	cases := r.object(s.id, object, "cases", true)
	for value := range cases {
		s.cases[value] = r.id(s.id, cases, value, true)
	}
	if len(cases) == 0 {
		r.fault(s.id, "cases is empty")
	}
}

func (r *reader) action(s *step, object map[string]any) {
	for _, name := range r.list(s.id, object, "in_args") {
		r.variable(s.id, strings.TrimSuffix(name, ":value"))
	}
	agent := r.agents[r.id(s.id, object, "agent", true)]
	if agent == "" {
		r.fault(s.id, "its agent is not defined")
	}
	all, _ := object["commands"].([]any)
	if len(all) == 0 || len(all) > maxCommands {
		r.fault(s.id, "it has no commands, or more than %d", maxCommands)
		return
	}
	orders := false
	for _, v := range all {
		c, ok := v.(map[string]any)
		if !ok {
			r.fault(s.id, "a command is an object")
			continue
		}
		cmd := r.command(s.id, agent, c)
		orders = orders || cmd.manual == ""
		s.commands = append(s.commands, cmd)
	}
	if orders {
		r.agreed(s, object)
	}
}

// agreed reads what must be agreed beforehand about a step that orders something.
func (r *reader) agreed(s *step, object map[string]any) {
	s.deadline = time.Duration(r.number(s.id, object, "timeout")) * time.Millisecond
	if s.deadline < time.Millisecond || s.deadline > maxDeadline {
		r.fault(s.id, "timeout, in milliseconds, is the step's deadline: above 0, at most %s", maxDeadline)
	}
	extensions := r.object(s.id, object, "step_extensions", false)
	r.only(s.id, extensions, "step_extensions", []string{Extension})
	e, ok := extensions[Extension].(map[string]any)
	if !ok {
		r.fault(s.id, "step_extensions lacks %s with inverse, ttl_s and on_timeout", Extension)
		return
	}
	r.only(s.id, e, "the extension", []string{"inverse", "ttl_s", "on_timeout"})
	s.ttl = time.Duration(r.number(s.id, e, "ttl_s")) * time.Second
	if s.ttl < minTTL || s.ttl > maxTTL {
		r.fault(s.id, "ttl_s must be from %s to %s in seconds: everything ends by itself", minTTL, maxTTL)
	}
	if e["on_timeout"] != "continue" {
		r.fault(s.id, "on_timeout must be \"continue\": one silent part does not stop what else is to be shut")
	}
	inverse := r.text(s.id, e, "inverse", true)
	for _, c := range s.commands {
		if want := c.order.inverse(); c.manual == "" && inverse != want {
			r.fault(s.id, "the inverse of this order is %q, not %.40q", want, inverse)
		}
	}
}

func (r *reader) command(step, agent string, c map[string]any) (cmd command) {
	kind := r.text(step, c, "type", true)
	switch kind {
	case "openc2-http":
		r.only(step, c, "the command", commandWords, []string{"type", "command", "content_b64"})
		if agent != "" && agent != "http-api" {
			r.fault(step, "an order's agent is %s", Actuator)
		}
		if got := r.text(step, c, "command", true); got != startLine {
			r.fault(step, "the command of openc2-http is %s", startLine)
		}
		content, err := base64.StdEncoding.DecodeString(r.text(step, c, "content_b64", true))
		if err == nil {
			cmd.order, err = parseOrder(content)
		}
		if err != nil {
			r.fault(step, "content_b64: %v", err)
		}
		for _, word := range []string{cmd.order.credential, cmd.order.actor, cmd.order.group, cmd.order.insurer, cmd.order.service} {
			if name, ok := variableOf(word); ok {
				r.variable(step, name)
			}
		}
	case "manual":
		r.only(step, c, "the command", commandWords, []string{"type", "command", "command_b64"})
		cmd.manual = r.text(step, c, "command", false)
		if text, err := base64.StdEncoding.DecodeString(r.text(step, c, "command_b64", false)); err != nil {
			r.fault(step, "command_b64: %v", err)
		} else if cmd.manual == "" {
			cmd.manual = string(text)
		}
		if cmd.manual == "" {
			r.fault(step, "a manual command says what is to be done")
		}
	default:
		r.fault(step, "the command type %.40q is not executed here: nothing is sent to other systems; use openc2-http for this node's own doors and deny list, or manual for what a person does there", kind)
		cmd.manual = "-"
	}
	return cmd
}
