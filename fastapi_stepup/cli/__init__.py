"""The command line: `fastapi-stepup routes | inspect | check | emulator`."""
