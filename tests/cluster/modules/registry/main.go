// Command registry is the distribution registry with the parts that the test cluster needs: images in a folder, and
// passwords from a file. The project's own main package links the storage of every cloud.
//
// `registry htpasswd USER`, with the password on standard input, prints the line of such a file.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	"golang.org/x/crypto/bcrypt"
)

func htpasswd(user string) error {
	password, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	// The cheapest hash: the registry computes it again for every request.
	hash, err := bcrypt.GenerateFromPassword(password, bcrypt.MinCost)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%s:%s\n", user, hash)
	return err
}

func main() {
	var err error
	if len(os.Args) == 3 && os.Args[1] == "htpasswd" {
		err = htpasswd(os.Args[2])
	} else {
		err = registry.RootCmd.Execute()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
