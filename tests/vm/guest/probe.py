import channel

channel.send(ready=True)
