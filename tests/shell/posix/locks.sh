# flock and fcntl locks between processes.
check "flock" probe flock f
check "fcntl" probe fcntl g
