from autobahn.asyncio.component import Component, run

ticket = open("restante-data/cli.key").read().strip()
component = Component(transports="ws://127.0.0.1:7300/wamp", realm="default",
                      authentication={"ticket": {"authid": "cli", "ticket": ticket}})


@component.on_join
async def joined(session, details):
    session.publish("orders.eu", "from a script")
    print(f"2 + 3 is {await session.call('page.add', 2, 3)}", flush=True)
    session.leave()


run([component], log_level="error")
