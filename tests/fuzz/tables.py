SEEDS = [b""]


def run_one(data):
    pass
