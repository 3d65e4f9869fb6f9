// What go-msgauth says of each DKIM signature of the mails on standard input, as JSON.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log"
	"os"

	"github.com/emersion/go-msgauth/dkim"
)

func main() {
	var asked struct {
		Mails   [][]byte
		Records map[string]string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		log.Fatal(err)
	}
	options := &dkim.VerifyOptions{LookupTXT: func(name string) ([]string, error) {
		if record, found := asked.Records[name]; found {
			return []string{record}, nil
		}
		return nil, errors.New("no such name")
	}}
	answers := [][]string{}
	for _, mail := range asked.Mails {
		results := []string{}
		verifications, err := dkim.VerifyWithOptions(bytes.NewReader(mail), options)
		if err != nil {
			results = append(results, err.Error())
		}
		for _, verification := range verifications {
			if verification.Err == nil {
				results = append(results, "pass")
			} else {
				results = append(results, verification.Err.Error())
			}
		}
		answers = append(answers, results)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatal(err)
	}
}
