from prefect import flow, task


@task
def louder(word):
    return word.upper()


@flow(log_prints=True)
def shout(word: str, times: int = 1):
    for _ in range(times):
        print(louder(word))
