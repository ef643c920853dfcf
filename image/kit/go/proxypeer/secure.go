package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/grpc/credentials"
)

// authorities are whom everybody here trusts.
func authorities(folder string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca.pem has no certificate")
	}
	return pool, nil
}

func pair(folder, name string) (tls.Certificate, error) {
	return tls.LoadX509KeyPair(filepath.Join(folder, name+".pem"), filepath.Join(folder, name+"-key.pem"))
}

// serverSide asks clients for certificates.
func serverSide(folder string) (credentials.TransportCredentials, error) {
	pool, err := authorities(folder)
	if err != nil {
		return nil, err
	}
	own, err := pair(folder, "server")
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{own},
		ClientCAs:    pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS12,
	}), nil
}

// clientSide shows a certificate.
func clientSide(folder string) (credentials.TransportCredentials, error) {
	pool, err := authorities(folder)
	if err != nil {
		return nil, err
	}
	own, err := pair(folder, "client")
	if err != nil {
		return nil, err
	}
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{own},
		RootCAs:      pool,
		MinVersion:   tls.VersionTLS12,
	}), nil
}
