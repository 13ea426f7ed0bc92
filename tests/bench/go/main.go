// Two peers for the benchmarks, both on nats.go: the smallest gateway that does what ours does with
// a request, and a client that sends requests without any HTTP; and a probe of how changes spread.
//
//	go-peer gateway ADDRESS NATS-URL
//	go-peer client NATS-URL SUBJECT IN-FLIGHT SECONDS [HEADERS-FILE]
//	go-peer probe SERVER RESOURCE CA CERTIFICATE KEY GATEWAY... <CHANGES
package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/valyala/fasthttp"
)

func main() {
	switch {
	case len(os.Args) == 4 && os.Args[1] == "gateway":
		log.Fatal(fasthttp.ListenAndServe(os.Args[2], gateway(connect(os.Args[3]))))
	case (len(os.Args) == 6 || len(os.Args) == 7) && os.Args[1] == "client":
		inFlight, _ := strconv.Atoi(os.Args[4])
		seconds, _ := strconv.Atoi(os.Args[5])
		header := nats.Header{}
		if len(os.Args) == 7 {
			header = readHeader(os.Args[6])
		}
		client(connect(os.Args[2]), os.Args[3], header, inFlight, time.Duration(seconds)*time.Second)
	case len(os.Args) > 7 && os.Args[1] == "probe":
		probe(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6], os.Args[7:])
	default:
		log.Fatal("usage: go-peer gateway ADDRESS NATS-URL | ",
			"client NATS-URL SUBJECT IN-FLIGHT SECONDS [HEADERS-FILE] | ",
			"probe SERVER RESOURCE CA CERTIFICATE KEY GATEWAY... <CHANGES")
	}
}

func connect(url string) *nats.Conn {
	connection, err := nats.Connect(url)
	if err != nil {
		log.Fatal(err)
	}
	return connection
}

// GET /foo/bar becomes a request on foo.bar.GET; headers are forwarded both ways.
func gateway(connection *nats.Conn) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		path := strings.Trim(string(ctx.Path()), "/")
		request := nats.NewMsg(strings.ReplaceAll(path, "/", ".") + "." + string(ctx.Method()))
		request.Data = ctx.PostBody()
		request.Header["Metropolis-Method"] = []string{string(ctx.Method())}
		request.Header["Metropolis-Path"] = []string{string(ctx.Path())}
		request.Header["Metropolis-Query"] = []string{string(ctx.QueryArgs().QueryString())}
		request.Header["Metropolis-Host"] = []string{string(ctx.Host())}
		request.Header["Metropolis-Remote-Addr"] = []string{ctx.RemoteIP().String()}
		for name, value := range ctx.Request.Header.All() {
			request.Header[string(name)] = []string{string(value)}
		}
		reply, err := connection.RequestMsg(request, 30*time.Second)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			ctx.Error("no responders", fasthttp.StatusServiceUnavailable)
		case err != nil:
			ctx.Error("no reply", fasthttp.StatusGatewayTimeout)
		default:
			for name, values := range reply.Header {
				ctx.Response.Header.Set(name, values[0])
			}
			ctx.SetBody(reply.Data)
		}
	}
}

// One "Name: value" a line.
func readHeader(path string) nats.Header {
	text, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	header := nats.Header{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		header[name] = []string{value}
	}
	return header
}

// Prints how many requests got a reply in that time.
func client(connection *nats.Conn, subject string, header nats.Header, inFlight int, duration time.Duration) {
	var done atomic.Int64
	var senders sync.WaitGroup
	end := time.Now().Add(duration)
	for range inFlight {
		senders.Go(func() {
			for time.Now().Before(end) {
				request := &nats.Msg{Subject: subject, Header: header}
				if _, err := connection.RequestMsg(request, 10*time.Second); err != nil {
					log.Fatal(err)
				}
				done.Add(1)
			}
		})
	}
	senders.Wait()
	fmt.Println(done.Load())
}
