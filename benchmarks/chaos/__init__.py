"""Does the service keep its promises while processes and servers are killed, frozen and restarted?"""
