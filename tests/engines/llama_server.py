"""llama.cpp's own server on a GGUF file: ``python llama_server.py FILE PORT``, until standard input ends."""

import sys

import xllamacpp

if __name__ == "__main__":
    settings = xllamacpp.CommonParams()
    settings.model.path = sys.argv[1]
    settings.port = int(sys.argv[2])
    settings.n_ctx, settings.n_parallel = 2048, 2
    settings.cpuparams.n_threads = 1
    settings.use_jinja = True
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    sys.stdin.read()
