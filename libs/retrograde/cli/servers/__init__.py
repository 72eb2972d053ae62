"""A real Kafka and a real MinIO on this machine: obtained, started, watched and stopped.

obtain        what they run from, in the user's cache folder
local_server  one such process: start, ready, stop, kill, restart
kafka_server  Kafka in KRaft mode          minio_server  MinIO
keeper        both together in the background, for `make services-up` and `services-down`
"""
