// Command etcd is the upstream etcd server. It has a module of its own because upstream's cannot be installed by version:
// its go.mod holds replacements, which `go install` refuses.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
