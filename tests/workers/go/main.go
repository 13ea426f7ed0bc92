// A worker on nats.go; ../README.md says what it answers.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

type report struct {
	Subject string      `json:"subject"`
	Headers [][2]string `json:"headers"`
	Length  int         `json:"length"`
	SHA256  string      `json:"sha256"`
}

type message struct {
	Headers [][2]string
	Body    string
	Size    int
	AfterMs int
	Suffix  string
	ReplyTo string
}

func reportOn(request *nats.Msg) []byte {
	sum := sha256.Sum256(request.Data)
	made := report{Subject: request.Subject, Headers: [][2]string{}, Length: len(request.Data), SHA256: hex.EncodeToString(sum[:])}
	for name, values := range request.Header {
		for _, value := range values {
			made.Headers = append(made.Headers, [2]string{name, value})
		}
	}
	text, err := json.Marshal(made)
	if err != nil {
		log.Fatal(err)
	}
	os.Stdout.Write(append(text, '\n'))
	return text
}

func pattern(size int) []byte {
	bytes := make([]byte, size)
	for i := range bytes {
		bytes[i] = byte(i * 7)
	}
	return bytes
}

func send(connection *nats.Conn, request *nats.Msg, wanted message) error {
	reply := nats.NewMsg(request.Reply + wanted.Suffix)
	reply.Reply = wanted.ReplyTo
	reply.Data = []byte(wanted.Body)
	if wanted.Size > 0 {
		reply.Data = pattern(wanted.Size)
	}
	for _, header := range wanted.Headers {
		reply.Header.Add(header[0], header[1])
	}
	time.Sleep(time.Duration(wanted.AfterMs) * time.Millisecond)
	return connection.PublishMsg(reply)
}

func replyAsAsked(connection *nats.Conn, request *nats.Msg) error {
	var wanted []message
	if err := json.Unmarshal(request.Data, &wanted); err != nil {
		return err
	}
	for _, one := range wanted {
		if err := send(connection, request, one); err != nil {
			refused := message{Headers: [][2]string{{"Metropolis-Status", "500"}, {"X-Refused", "1"}}, Body: err.Error()}
			return send(connection, request, refused)
		}
	}
	return nil
}

func answer(connection *nats.Conn, request *nats.Msg) {
	var err error
	switch strings.Split(request.Subject, ".")[1] {
	case "report":
		err = request.Respond(reportOn(request))
	case "reply":
		err = replyAsAsked(connection, request)
	case "respond":
		err = request.Respond([]byte("ok"))
	}
	if err != nil {
		log.Print(request.Subject, ": ", err)
	}
}

func serveMicro(connection *nats.Conn, name string) error {
	service, err := micro.AddService(connection, micro.Config{Name: name, Version: "1.0.0"})
	if err != nil {
		return err
	}
	return service.AddEndpoint("answer", micro.HandlerFunc(func(request micro.Request) {
		if string(request.Data()) == "error" {
			request.Error("404", "secret text", []byte("no such thing"))
		} else {
			request.Respond([]byte("ok"))
		}
	}), micro.WithEndpointSubject("micro."+name+".>"))
}

func main() {
	closed := make(chan struct{})
	connection, err := nats.Connect(os.Args[1], nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		log.Fatal(err)
	}
	_, err = connection.QueueSubscribe(os.Args[2]+".>", "worker", func(request *nats.Msg) {
		go answer(connection, request)
	})
	if err == nil {
		err = serveMicro(connection, os.Args[2])
	}
	if err != nil {
		log.Fatal(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	<-stop
	if err := connection.Drain(); err != nil {
		log.Fatal(err)
	}
	<-closed
}
