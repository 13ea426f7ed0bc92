package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// The probe shares the cores with what it measures, so it asks seldom while there is nothing to see
// and often once the bare watcher has the event: a gateway is never late by more than fastPace.
const (
	slowPace = 5 * time.Millisecond
	fastPace = 100 * time.Microsecond
	pause    = 20 * time.Millisecond // before each change
	patience = 30 * time.Second
)

// Routes are created with generation 1, and each is changed once.
const changed = 2

type event struct {
	Object struct {
		Metadata struct {
			Name, ResourceVersion string
			Generation            int
		}
	}
}

type sighting struct {
	name  string
	at    time.Time
	wrong int // answers other than 404 and 200
}

type question struct {
	name, path string
	hurry      chan struct{} // closed when the watcher has the event
}

// Changes the Routes of standard input one after another (a line each: name, the object's path at
// the API server, its path at the gateways, the merge patch; between tabs) and prints for each, in
// microseconds since the PATCH was sent: when a bare watcher had the event, when the slowest gateway
// began to answer three times in a row with 200; and how many answers were neither 404 nor 200.
func probe(server, resource, ca, certificate, key string, gateways []string) {
	api := &apiServer{server, tlsConfig(ca, certificate, key)}
	watched, served := make(chan sighting, 1024), make(chan sighting, len(gateways))
	api.watch(resource, watched)
	var questions []chan question
	for _, address := range gateways {
		questions = append(questions, make(chan question))
		go ask(address, questions[len(questions)-1], served)
	}
	client := api.client()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		name, object, path, patch := fields[0], fields[1], fields[2], fields[3]
		hurry := make(chan struct{})
		for _, to := range questions {
			to <- question{name, path, hurry}
		}
		time.Sleep(pause)
		sent := time.Now()
		answered := make(chan error, 1)
		go func() { answered <- api.patch(client, object, patch) }()
		seen := await(watched, name)
		close(hurry)
		last, wrong := time.Duration(0), 0
		for range gateways {
			one := await(served, name)
			last = max(last, one.at.Sub(sent))
			wrong += one.wrong
		}
		if err := <-answered; err != nil {
			log.Fatal(err)
		}
		fmt.Println(seen.at.Sub(sent).Microseconds(), last.Microseconds(), wrong)
	}
}

// The next sighting of that Route; of others, which change meanwhile, none counts.
func await(sightings chan sighting, name string) sighting {
	timeout := time.After(patience)
	for {
		select {
		case one := <-sightings:
			if one.name == name {
				return one
			}
		case <-timeout:
			log.Fatalf("the change of %s was not seen for %v", name, patience)
		}
	}
}

type apiServer struct {
	url string
	tls *tls.Config
}

func tlsConfig(ca, certificate, key string) *tls.Config {
	pem, err := os.ReadFile(ca)
	if err != nil {
		log.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
}

// HTTP/1.1, on a connection of its own.
func (api *apiServer) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: api.tls, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}}
}

func (api *apiServer) patch(client *http.Client, path, body string) error {
	request, _ := http.NewRequest("PATCH", api.url+path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/merge-patch+json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("PATCH: %s %s", response.Status, answer)
	}
	return err
}

// Follows the resource from now on; returns when the server has accepted that.
func (api *apiServer) watch(resource string, watched chan sighting) {
	client := api.client()
	var list struct{ Metadata struct{ ResourceVersion string } }
	response, err := client.Get(api.url + resource + "?limit=1")
	if err == nil {
		err = json.NewDecoder(response.Body).Decode(&list)
		response.Body.Close()
	}
	if err != nil {
		log.Fatal(err)
	}
	response, err = client.Get(api.url + resource + "?watch=1&resourceVersion=" + list.Metadata.ResourceVersion)
	if err != nil || response.StatusCode != http.StatusOK {
		log.Fatal("cannot watch: ", err)
	}
	go func() {
		known := map[string]bool{}
		lines := bufio.NewReader(response.Body)
		for {
			line, err := lines.ReadBytes('\n')
			now := time.Now()
			var one event
			if err == nil {
				err = json.Unmarshal(line, &one)
			}
			if err != nil {
				log.Fatal("the watch ended: ", err)
			}
			if meta := one.Object.Metadata; meta.Generation == changed && !known[meta.Name] {
				known[meta.Name] = true
				watched <- sighting{name: meta.Name, at: now}
			}
		}
	}()
}

// Asks a gateway each question until it has answered three times in a row with 200.
func ask(address string, questions chan question, served chan sighting) {
	connection, err := net.Dial("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	answers := bufio.NewReader(connection)
	for one := range questions {
		request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: bench.test\r\n\r\n", one.path)
		found := sighting{name: one.name}
		for row := 0; row < 3; {
			status, now := get(connection, answers, request)
			switch {
			case status == http.StatusOK && row == 0:
				found.at = now
				row++
			case status == http.StatusOK:
				row++
			default:
				row = 0
				if status != http.StatusNotFound {
					found.wrong++
				}
				rest(one.hurry)
			}
		}
		served <- found
	}
}

func get(connection net.Conn, answers *bufio.Reader, request []byte) (int, time.Time) {
	_, err := connection.Write(request)
	if err == nil {
		_, err = answers.Peek(1)
	}
	now := time.Now()
	var response *http.Response
	if err == nil {
		response, err = http.ReadResponse(answers, nil)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	if err != nil {
		log.Fatal(err)
	}
	return response.StatusCode, now
}

// Until it is worth asking again. The runtime's own timers are too coarse for the short one.
func rest(hurry chan struct{}) {
	select {
	case <-hurry:
		short := syscall.NsecToTimespec(int64(fastPace))
		syscall.Nanosleep(&short, nil)
	default:
		select {
		case <-hurry:
		case <-time.After(slowPace):
		}
	}
}
