def expected_difference(command, line):
    return False
