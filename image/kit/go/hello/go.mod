module corten.dev/kit/hello

go 1.26.0
