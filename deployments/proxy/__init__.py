"""HAProxy in front of the applications: what Ray starts as HAProxy, and what it makes of Ray's configuration.

Ray writes a configuration for each change of replicas and starts `haproxy`, the executable file beside this one. That
rewrites the text (`config_text`), runs the real HAProxy with it, answers on Ray's admin socket in its place
(`admin_socket`), starts it again when it dies (`launcher`), and lets it take the connections that wait for it before it
stops listening (`newcomers`). Standard library only: it runs without site-packages, to be up in a blink.
"""
