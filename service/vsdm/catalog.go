package vsdm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/querschott/querschott"
)

// Form is one of the two published definitions of catalog.json, which disagree.
type Form string

// The forms.
const (
	FormSchema  Form = "schema"  // catalog.schema.json 0.9.2: says when it was made
	FormOpenAPI Form = "openapi" // servicediscovery.yaml 1.0.0: has a revision
)

// Instance is one running service.
type Instance struct {
	ID   string
	Type string // vsdm, epa, erp, idp, vzd and so on
	URL  string
}

// Catalog is the TI service catalog of this platform: where each insurer's services are. Clients keep it for an hour, so it
// contains no attack; doors do.
type Catalog struct {
	Form        Form
	Environment string    // dev, test, ref, prod; in the form of the schema also gemdev
	Updated     time.Time // form of the schema: when the content last changed, from 2026-03-26T07:00:00Z on
	Revision    int64     // form of the OpenAPI: at least 1, rises with every change
	Instances   []Instance
	Routing     map[string]map[querschott.IK]string // type, IK, id of an instance
}

// The catalog's version of its format and how long it may be kept.
const (
	CatalogPath         = "/catalog.json"
	catalogCacheControl = "max-age=3600"
	schemaVersion       = "0.9.2"
	openAPIVersion      = "1.0.0"
	earliestUpdate      = 1774508400 // the schema's minimum
)

// ErrCatalog means that a catalog breaks its definition.
var ErrCatalog = errors.New("the catalog is not as its definition says")

var serviceType = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)

type instanceJSON struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

// catalogJSON has exactly one of UpdatedAt and Revision; both definitions forbid what they do not name.
type catalogJSON struct {
	FormatVersion string                              `json:"format_version"`
	UpdatedAt     int64                               `json:"updated_at,omitempty"`
	Revision      int64                               `json:"revision,omitempty"`
	Env           string                              `json:"env"`
	Instances     map[string]instanceJSON             `json:"service_instances"`
	Routing       map[string]map[querschott.IK]string `json:"routing,omitempty"`
}

// Catalog returns the catalog of one instance of this service that answers for all tenants, at an address without a path.
func (s *Service) Catalog(form Form, environment, address string, updated time.Time, revision int64) Catalog {
	const id = "vsdm-1"
	routes := map[querschott.IK]string{}
	for ik := range s.owners {
		routes[ik] = id
	}
	return Catalog{
		Form: form, Environment: environment, Updated: updated, Revision: revision,
		Instances: []Instance{{ID: id, Type: string(querschott.VSDM), URL: address}},
		Routing:   map[string]map[querschott.IK]string{string(querschott.VSDM): routes},
	}
}

// Document checks the catalog and writes it. The same catalog is the same document.
func (c Catalog) Document() (Document, error) {
	j := catalogJSON{Env: c.Environment, Instances: map[string]instanceJSON{}, Routing: map[string]map[querschott.IK]string{}}
	environments := []string{"dev", "test", "ref", "prod"}
	switch c.Form {
	case FormSchema:
		j.FormatVersion, j.UpdatedAt = schemaVersion, c.Updated.Unix()
		environments = append(environments, "gemdev")
		if j.UpdatedAt < earliestUpdate {
			return Document{}, fmt.Errorf("%w: it changed last before %s", ErrCatalog, time.Unix(earliestUpdate, 0).UTC().Format(time.RFC3339))
		}
	case FormOpenAPI:
		j.FormatVersion, j.Revision = openAPIVersion, c.Revision
		if j.Revision < 1 {
			return Document{}, fmt.Errorf("%w: its revision is %d", ErrCatalog, j.Revision)
		}
	default:
		return Document{}, fmt.Errorf("%w: there is no form %.20q", ErrCatalog, c.Form)
	}
	if !slices.Contains(environments, c.Environment) {
		return Document{}, fmt.Errorf("%w: there is no environment %.20q", ErrCatalog, c.Environment)
	}
	if err := j.fill(c); err != nil {
		return Document{}, err
	}
	body, err := json.Marshal(j)
	if err != nil {
		return Document{}, fmt.Errorf("couldn't write the catalog: %w", err)
	}
	return newDocument(body, "application/json", catalogCacheControl), nil
}

// fill adds instances and routes.
func (j *catalogJSON) fill(c Catalog) error {
	for _, i := range c.Instances {
		u, err := url.Parse(i.URL)
		_, twice := j.Instances[i.ID]
		if err != nil || !u.IsAbs() || u.Host == "" || !serviceType.MatchString(i.Type) || i.ID == "" || twice {
			return fmt.Errorf("%w: instance %.40q has no type or address, or is there twice", ErrCatalog, i.ID)
		}
		j.Instances[i.ID] = instanceJSON{i.Type, i.URL}
	}
	if len(j.Instances) == 0 {
		return fmt.Errorf("%w: it has no instance", ErrCatalog)
	}
	for kind, table := range c.Routing {
		for ik, id := range table {
			if i, ok := j.Instances[id]; !ok || i.Type != kind {
				return fmt.Errorf("%w: IK %s is routed to an instance of %.20q that is not there", ErrCatalog, ik, kind)
			}
		}
		if len(table) > 0 {
			j.Routing[kind] = table
		}
	}
	return nil
}
