"""An adapter as files: whole or not there, brought in from outside, looked into. numpy, never torch."""
