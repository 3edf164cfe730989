"""What `qpert doctor` looks at: packages, machine, GPUs, models, formats, folders, Ray and what it listens on."""
