module maestro/agent

go 1.25
