"""What an accelerator does with the models here, without Ray and without downloads: `qpert benchmark gpu`."""
